REVISION = "slow-start"
