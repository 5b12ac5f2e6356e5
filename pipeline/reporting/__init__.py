"""From the runs of the tracking store to tables: results -> labels -> tables -> text."""
