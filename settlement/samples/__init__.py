"""Samples for hospitals' developers, shown and offered by the public interface specification."""
