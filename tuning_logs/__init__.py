"""The tuning logs that come with Armature: data, a folder per core."""
