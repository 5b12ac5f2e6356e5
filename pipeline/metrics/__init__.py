"""From images to metrics: extractors (images to features), distances (features to numbers), a cache between them."""
