"""What the tests share: a host to test on, bundles, the runtime under test, and a probe that looks from inside."""
