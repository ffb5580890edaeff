"""Medical volumes as frames: NIfTI files and DICOM series, slice by slice."""
