"""The log: lines on a descriptor, which nobody can forge, multiply or stop."""
