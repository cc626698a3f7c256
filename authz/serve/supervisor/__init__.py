"""Several worker processes behind one command: started, watched, restarted, stopped, and shown as one.

Law: this process evaluates no checks and never imports gRPC. Imports here are not shared with the workers, which are
fresh interpreters, never forks. The processes communicate only through one folder that only our user may enter, and
through one inherited socket per worker (the lifeline): when it closes, each side knows that the other has ended.
"""
