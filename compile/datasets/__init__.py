"""Finding the images to run, and what is in each as far as there are annotations."""

from compile.datasets.images import default_images, find_images
from compile.datasets.sample import Dataset, Sample

__all__ = ["Dataset", "Sample", "default_images", "find_images"]
