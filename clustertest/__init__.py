"""The real thing: hosts, engines and databases that actually run. Needs root; never imported by pgswarm."""
