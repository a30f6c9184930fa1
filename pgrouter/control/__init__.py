"""The control plane: who leads (`cluster`), what names mean in the databases, and who may log in.

| module           | what it holds                                                                     |
| ---------------- | --------------------------------------------------------------------------------- |
| `plane`          | all of it, with one life: start, reload, stop                                     |
| `catalogs`       | follows the catalogs of the databases in use; `routing.catalog_build` judges them |
| `catalog_reader` | reads one database's catalog, its digest, and the sign that it may have changed   |

The data plane (`proxy.data_plane`) does not import it, nor the reverse: they meet in `pgrouter.planes`.
"""
