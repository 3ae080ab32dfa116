"""A board reached by its shell: what ssh and adb have in common; they have folders of their own."""
