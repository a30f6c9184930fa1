"""The router's numbers under names that monitoring systems read."""
