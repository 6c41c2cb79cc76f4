"""What tests are built from: videos, datasets, builds, clusters, trained networks, servers that fail."""
