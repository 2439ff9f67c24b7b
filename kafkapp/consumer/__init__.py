"""The consumer: reads the partitions that it is assigned, as columns or record by record."""
from kafkapp import _modules

_modules.install()     # again: sys.meta_path may have been put back since kafkapp was imported
