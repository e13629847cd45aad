"""How a command fails: one line for the user, and an exit code."""


class CommandError(Exception):
    """A command that could not be done; the message is the one line that the user sees."""

    code = 1


class UsageError(CommandError):
    """The command line, a setting, or a file that they name cannot be used: nothing was tried."""

    code = 2
