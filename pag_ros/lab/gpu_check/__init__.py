"""What is to be seen on a real GPU, in one short run that loses nothing."""
