"""One file a command; `controlplane.cli` loads a file when its command is called."""
