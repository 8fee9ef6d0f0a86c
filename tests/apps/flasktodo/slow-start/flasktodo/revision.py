REVISION = "slow-start"
VERSION = "1.4"
