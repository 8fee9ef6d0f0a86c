class Broken(str):
    def __format__(self, spec):
        raise RuntimeError("this revision answers 500")


REVISION = Broken("broken-500")
