"""The tests of RLay, in folders that mirror the package."""
