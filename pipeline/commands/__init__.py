"""The command line: parse, call, print. No logic lives here, and no command loads more than it needs."""
