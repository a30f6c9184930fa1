"""What one client's messages mean: prepared statements, settings, pins, failed transactions. No IO."""
