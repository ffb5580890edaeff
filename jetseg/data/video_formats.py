"""What FFmpeg may open: containers with pictures in them, never a list of further files or addresses.

FFmpeg tells formats by content, not by name: a file called drive.mp4 may be a playlist that reads any other file.
"""

from __future__ import annotations

from jetseg.data.image_header import MOST_PIXELS

_CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpegtsraw,mpeg,mpegvideo,m4v,h264,hevc,vvc,obu,av1,ivf,flv,"
    "live_flv,mjpeg,mpjpeg,asf,ogg,nut,mxf,dv,gxf,y4m,yuv4mpegpipe,gif,apng,nsv,rm,wtv,r3d,cavsvideo,vc1,"
    "jpeg_pipe,png_pipe,bmp_pipe,tiff_pipe,webp_pipe,ppm_pipe,pgm_pipe,rtsp,rtp,rtp_mpegts"
)
_PLAYLISTS = "hls,applehttp,dash"
_NETWORK = "http,https,httpproxy,tls,tcp,udp,rtp,srtp,rtmp,rtmps,rtmpt,rtsp,srt,crypto"
NETWORK_SCHEMES = frozenset({"rtsp", "rtsps", "rtmp", "rtmps", "http", "https", "udp", "rtp", "tcp", "srt"})
"""Schemes of addresses that a stream may have."""


def file_options() -> dict[str, str]:
    """Returns options for what Python has opened: FFmpeg itself opens nothing."""
    return {"protocol_whitelist": "none", "format_whitelist": _CONTAINERS, "max_pixels": str(MOST_PIXELS)}


def network_options(*, playlists: bool = False) -> dict[str, str]:
    """Returns options for an address: no file of this machine, and no playlist unless asked for."""
    formats = f"{_CONTAINERS},{_PLAYLISTS}" if playlists else _CONTAINERS
    return {"protocol_whitelist": _NETWORK, "format_whitelist": formats, "max_pixels": str(MOST_PIXELS)}
