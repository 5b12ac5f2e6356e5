"""What a training needs and leaves, so that it can start on one machine and end on another: by the tracking store."""
