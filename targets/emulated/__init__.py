"""The emulated board: ARM code on this machine, under qemu-user."""
