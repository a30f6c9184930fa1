"""In Pgpool-II's place: its configuration files, its command line, its containers' environment."""
