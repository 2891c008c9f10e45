"""A team's notebooks and what they gave in an image, as one published, cited and repeatable work."""
