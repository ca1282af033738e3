// Stand-in for a meeting: the camera and the microphone, and what came of asking for them.
navigator.mediaDevices.getUserMedia({ audio: true, video: true }).then(
    (stream) => { document.documentElement.dataset.media = stream.getTracks().map((track) => track.kind).sort().join(' '); },
    (error) => { document.documentElement.dataset.media = error.name; },
);
