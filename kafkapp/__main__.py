"""`python -m kafkapp`: the same as the console command `kafkapp`. Layer L5."""
from kafkapp.cli import main

main()
