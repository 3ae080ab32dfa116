"""Boards over SSH offered at a tracker, through ports of this machine."""
