REVISION = "broken-500"
