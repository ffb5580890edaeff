"""Accuracy from one confusion matrix per dataset."""
