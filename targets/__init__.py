"""What Armature compiles for (cores, boards) and what it runs on (devices)."""
