"""What goes wrong in a lab."""


class LabError(Exception):
    """The lab cannot do what was asked; the message says why and what to look at."""
