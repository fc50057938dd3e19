"""The national interface that hospitals' existing systems speak. Stands below config only."""
