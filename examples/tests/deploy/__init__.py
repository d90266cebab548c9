"""The deployment guides: their files agree with one another, and their programs do what they say."""
