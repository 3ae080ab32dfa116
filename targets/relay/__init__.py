"""Boards over SSH and adb offered at a tracker, through ports of this machine."""
