"""The law as data: policy documents, their releases, what a service costs and who pays."""
