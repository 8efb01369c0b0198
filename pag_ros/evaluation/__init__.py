"""Evaluation on bags: read frames and ground truth, score them, write the report."""
