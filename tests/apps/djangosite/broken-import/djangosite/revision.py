REVISION = "broken-import"
