"""Money: claims, the kernel that splits them, the ledger, batches."""
