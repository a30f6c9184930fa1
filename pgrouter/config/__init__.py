"""Settings: YAML in, frozen structs out."""
