"""What one client's messages mean: prepared statements, settings, pins, lost transactions. No IO."""
