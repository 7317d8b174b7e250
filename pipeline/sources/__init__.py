"""Any pile of small images as rows, wherever it lies and whatever its format.

    images            opens a pile: finds it, tells its kind, chooses who reads it
    rows, reading     what a pile is to those who read it; what the user chose
    places, remote, piped, failures, streams    where files lie, and how their bytes are read
    kinds             kinds of files, by name and first bytes
    arrays            IDX, .npy, .npz: array_files, idx, pairs (which are images, which labels)
    tables, csv_files Parquet, Arrow, CSV: table_files, choose_columns, columns
    pictures          PNG and others: formats (is it whole?); zips; shards of tars (tars, members)
    levels, pixels, digit    numbers to grey levels; any size to 28 x 28
    labels            what a label means; label_files, label_columns, member_labels: where labels are
"""
