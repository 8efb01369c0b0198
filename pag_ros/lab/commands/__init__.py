"""The commands of the workbench, one module a command."""
