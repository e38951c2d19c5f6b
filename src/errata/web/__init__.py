"""The desk: a local web app over one workspace; it measures and decides nothing by itself."""
