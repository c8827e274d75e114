import sys

from hybridlib.study.cli.main import main

if __name__ == "__main__":  # training runs in processes of their own import this module again
    sys.exit(main())
