"""The code that runs *inside* Airflow.

Law: nothing here imports the server's code (`authz.*` outside this package). It needs only Airflow, PyJWT, cryptography
and the standard library, so that it can be installed into an Airflow image with nothing else of ours.
"""
