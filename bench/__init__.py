"""Measures pgswarm on a lab, and beside it what it is compared with."""
