"""The daemon as a process: settings to stages, the task groups, signals, reload, exit codes."""
