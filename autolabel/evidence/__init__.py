"""Evidence: what is known of each feature from running the subject model over text."""
